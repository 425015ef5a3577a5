//! The room where votes wait for their quorum: what faulty validators put into it, and what happens when one of its
//! rules is missing.
//!
//! Each rule has a defect of its own ([`mutants`](crate::mutants)), a directed script that the node withstands and the
//! node without the rule does not, and random storms that notice as well.

mod scene;
mod scripts;
mod storm;
