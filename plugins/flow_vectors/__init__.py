"""Vector indexes: what finds the vectors that are nearest to one."""
