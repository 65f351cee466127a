"""The command line. Each command's module is imported only when it is the one asked for."""
