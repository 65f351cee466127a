"""What an HTTP request is to us, whatever version carries it: its routes, identity headers, rates and traces."""
