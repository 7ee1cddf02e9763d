mod durable;
mod flow;
mod kit;
mod pressure;
mod transactions;
