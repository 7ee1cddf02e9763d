mod durable;
mod flow;
mod kit;
mod transactions;
