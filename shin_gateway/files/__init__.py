"""Files and batches at the gateway: which provider has them, and whose they are."""
