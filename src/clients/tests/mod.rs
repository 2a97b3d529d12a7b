mod issue;
mod material;
mod model;
mod table;
mod world;
