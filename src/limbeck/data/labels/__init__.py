"""Labels that are told of: those that train lacks, and numbers far from all others."""
