"""Federation: what one member cluster tells about its workloads, and what follows from it."""
