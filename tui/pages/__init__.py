"""What each view shows, as sheets of safe lines. Nothing here knows the toolkit."""
