"""Values of clusters: checked, encoded as TLV and decoded from it."""
