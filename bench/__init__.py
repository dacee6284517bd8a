"""Side-by-side measurements of the proxy. Not tests: nothing here fails on a clock."""
