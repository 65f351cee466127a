"""The admin API: HTTP/1.1 and JSON on a Unix socket, for the command line, the terminal UI and curl."""
