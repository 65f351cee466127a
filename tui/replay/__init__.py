"""A recording in place of sidecars: its clock, what it answers, and how it is reached."""
