//! Gives memory back that is not used any more. An agent reads some 20 MB when it starts (the kernel's types, the programs,
//! the whole cluster), and then idles for months.

mod heap;
mod program;

pub use heap::keep_small;
pub use program::give_back_program;

#[cfg(test)]
mod status;
