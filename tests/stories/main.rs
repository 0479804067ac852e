//! Stories: the real Envoy with the shipped filter, the real control plane, and an origin that does as told.

mod hits;
