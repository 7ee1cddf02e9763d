mod durable;
mod failing;
mod flow;
mod kit;
mod memory;
mod pressure;
mod transactions;
