"""The screens: thin, they hand what the pages made to the widgets and keys to the app."""
