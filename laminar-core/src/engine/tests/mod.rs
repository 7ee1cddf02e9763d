mod durable;
mod flow;
mod kit;
mod memory;
mod pressure;
mod transactions;
