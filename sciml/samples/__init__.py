"""Sample stores: input and output functions in HDF5, written shard by shard and streamed by index."""
