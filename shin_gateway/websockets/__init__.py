"""WebSockets: calls carried frame by frame, and connections that pass message by message."""
