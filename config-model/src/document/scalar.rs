//! Plain scalars as go-yaml reads them.
