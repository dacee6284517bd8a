"""What stands at the ports: limits of what a client may hold on to, bans, CORS. Knows nothing of calls."""
