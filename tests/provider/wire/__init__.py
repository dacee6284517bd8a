"""The wire formats, one file per API. Each gives whole(said) and its stream's events as the provider writes them."""
