//! What every problem looks like: code, place, reason and help.

mod limits;
mod names;
mod rules;
mod shape;

use super::rendered;
