//! The job over real shares, good and damaged, in parts and at once.

use super::*;
