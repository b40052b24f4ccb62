//! Clouds that fail: each fault of the simulator, at each action, in each phase of many policies' lives, beside an account of which
//! nothing fails. Everything converges when the fault has ended, what is asked meanwhile is bounded, and nobody else notices.

mod faults;
mod honest;
mod judge;
mod matrix;
mod pace;
mod phases;
mod table;
mod thousands;
