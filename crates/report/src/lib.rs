//! What people look at: learning curves, tables, the HTML report.
//!
//! *Architecture invariant:* it reads what a run left; it trains nothing and changes nothing.
