//! Each rule of the module, on real files. What needs a second user is tested by root alone, and says so otherwise.
