mod issue;
mod material;
mod table;
