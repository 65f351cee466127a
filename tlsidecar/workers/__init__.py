"""The workers that serve connections: in this process, or several of their own."""
