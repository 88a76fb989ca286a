//! The compiled routing table.
