//! Whole crawls with the real actors in simulated time.
