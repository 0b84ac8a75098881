//! The formats of Tahoe-LAFS 1.20.0: share containers, leases, names.
