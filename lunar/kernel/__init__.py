"""The machine's own kernel, in network namespaces that a run makes for itself: the peer that Lunar is compared with."""
