mod durable;
mod failing;
mod flow;
mod kit;
mod pressure;
mod transactions;
