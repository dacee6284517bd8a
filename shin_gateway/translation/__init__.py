"""Translation between dialects, through one common form. Only for calls whose client and target speak differently."""
