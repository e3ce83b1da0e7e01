//! The local stack as its user starts it: the real binary, both services, real files.

mod crash;
mod folder;
mod lesson;
mod log;
mod stack;
