"""Is a call what its API takes? Schemas made from the official SDKs' own types, and what checks against them."""
