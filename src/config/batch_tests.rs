//! The sections of `POST /batch`: what they become, and each mistake at its line.

use rstest::rstest;

use super::*;
use crate::batch::access::rules::Right;
use crate::batch::catalogue::settings::*;
use crate::batch::catalogue::{ColumnType, DatabaseKind, Injected, KeyRule, RelationKind, VersionKind};
use crate::database::{Enforcement, TlsMode};

const HEAD: &str = "[[org]]\nname = \"demo\"\nsimulated = true\n";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(&format!("{HEAD}{text}"), "config.toml", std::iter::empty())
}

fn entity(keys: &str) -> Result<EntitySettings, Problems> {
    let config =
        parse(&format!("[[database]]\nname = \"shop\"\n[[database.entity]]\nname = \"customer\"\n{keys}"))?;
    Ok(config.databases().remove(0).catalogue.entities.remove(0))
}

#[test]
fn the_shipped_database_is_the_example_in_the_state_folder() {
    let shipped = Config::load(None, std::iter::empty()).unwrap();
    let databases = shipped.databases();
    let [shop] = databases.as_slice() else { panic!("one database is shipped") };
    assert_eq!(shop.kind, DatabaseKind::Sqlite);
    assert_eq!(shop.path, Some(shipped.state_dir.join("shop.sqlite")));
    assert!(shop.init_sql.as_ref().is_some_and(|sql| sql.contains("CREATE TABLE invoice_line")));
    assert_eq!(shop.catalogue.entities[0].version.as_ref().map(|one| one.column.as_str()), Some("revision"));
    assert_eq!(shop.statements[0].parameters, [("at_least".into(), ColumnType::Decimal)]);
    assert!(shipped.api.allows_anonymous());
}

#[test]
fn a_server_is_opened_as_it_is_written() {
    let config = parse(
        "[batch]\nlock_timeout_ms = 7\n[[database]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"postgres://u:hunter2@db/x\"\nenforcement = \"database\"\nrole_claim = \"role\"\ntls = \"require\"\n",
    )
    .unwrap();
    let main = config.databases().remove(0);
    assert_eq!((main.path.is_none(), main.tls), (true, TlsMode::Require));
    assert_eq!(main.url.as_ref().map(|url| url.expose()), Some("postgres://u:hunter2@db/x"));
    assert_eq!(main.lock_timeout.as_millis(), 7);
    assert_eq!(main.catalogue.schemas, ["public"]);
    let expected = Enforcement::Database { role_claim: "role".into(), anonymous_role: None };
    assert!(main.enforcement == expected && main.catalogue.enforced_by_database);
    assert!(!format!("{config:?}{main:?}").contains("hunter2"));
}

#[test]
fn every_form_of_an_entity_is_read() {
    let settings = entity(
        "key = { customer_id = \"uuid\" }
version = { column = \"changed\", kind = \"timestamp\" }
inject = { made_by = { value = \"claim:sub\", on = [\"create\", \"update\"] } }
soft_delete = { column = \"state\", strategy = \"exclude_values\", values = [\"void\"], delete_value = \"void\" }
audit = [\"removed_by\"]
relations = { bills = { entity = \"invoice\", type = \"array\", columns = { customer_id = \"payer_id\" } } }
[database.entity.permissions.read]
clerk = \"vault_id|owner\"
courier = { properties = \".*\", where = \"courier = ${claims.sub}\" }
\"*\" = false
[database.entity.permissions.delete]
chief = true
courier = { where = \"courier = ${claims.sub}\" }
",
    )
    .unwrap();
    assert_eq!(settings.key, KeySetting::Columns(vec![("customer_id".to_owned(), KeyRule::Uuid)]));
    assert_eq!(settings.version.unwrap().kind, Some(VersionKind::Timestamp));
    let inject = &settings.inject[0];
    assert_eq!(
        (&inject.value, inject.on_create, inject.on_update),
        (&Injected::Claim("sub".into()), true, true)
    );
    assert!(matches!(settings.soft_delete, Some(SoftDeleteSetting::ExcludeValues { .. })));
    assert_eq!(settings.relations[0].kind, RelationKind::Array);
    let filter = Some("courier = ${claims.sub}".to_owned());
    let rule = |right, role: &str, grant| RuleSetting { right, role: role.to_owned(), grant };
    let expected = [
        rule(Right::Read, "*", GrantSetting::Nothing),
        rule(
            Right::Read,
            "clerk",
            GrantSetting::Some { columns: Some("vault_id|owner".to_owned()), filter: None },
        ),
        rule(
            Right::Read,
            "courier",
            GrantSetting::Some { columns: Some(".*".to_owned()), filter: filter.clone() },
        ),
        rule(Right::Delete, "chief", GrantSetting::everything()),
        rule(Right::Delete, "courier", GrantSetting::Some { columns: None, filter }),
    ];
    assert_eq!(settings.permissions.as_deref(), Some(&expected[..]));
}

#[rstest]
#[case(
    "key = \"serial\"\n",
    "8: database[0].entity[0].key: `serial` is none of: auto, required, optional, sequence:NAME, uuid"
)]
#[case(
    "version = { colum = \"rev\" }\n",
    "8: database[0].entity[0].version.colum: unknown key; did you mean"
)]
#[case(
    "inject = { by = { value = \"env:HOME\", on = [\"create\"] } }\n",
    "8: database[0].entity[0].inject.by.value: `env:HOME`: variables of the environment are not offered"
)]
#[case("inject = { by = { value = \"uuid\" } }\n", "8: database[0].entity[0].inject.by: `on` is missing")]
#[case(
    "inject = { by = { value = \"uuid\", on = [\"read\"] } }\n",
    "8: database[0].entity[0].inject.by.on: `read` is none of: create, update"
)]
#[case(
    "soft_delete = { column = \"x\", strategy = \"flag\" }\n",
    "8: database[0].entity[0].soft_delete.strategy: `flag` is none of"
)]
#[case(
    "soft_delete = { column = \"x\", strategy = \"null_check\", values = [] }\n",
    "8: database[0].entity[0].soft_delete.values: has no use"
)]
#[case("permissions = {}\n", "8: database[0].entity[0].permissions: holds no rule")]
#[case(
    "[database.entity.permissions.read]\nclerk = 5\n",
    "9: database[0].entity[0].permissions.read.clerk: expected a pattern, a section, true or false, found a whole number"
)]
#[case(
    "[database.entity.permissions.raed]\nclerk = true\n",
    "8: database[0].entity[0].permissions.raed: unknown key; did you mean `database[0].entity[0].permissions.read`?"
)]
#[case(
    "[database.entity.permissions.read]\n\nclerk = { where = \"a = 1\" }\n",
    "10: database[0].entity[0].permissions.read.clerk: `properties` is missing"
)]
#[case(
    "[database.entity.permissions.read]\nclerk = { properties = \"(\" }\n",
    "9: database[0].entity[0].permissions.read.clerk.properties: `(` is not a pattern"
)]
#[case(
    "[database.entity.permissions.read]\nclerk = { properties = \".*\", where = \"a == 1\" }\n",
    "9: database[0].entity[0].permissions.read.clerk.where: at character 4: expected a value"
)]
#[case(
    "[database.entity.permissions.delete]\nclerk = \".*\"\n",
    "9: database[0].entity[0].permissions.delete.clerk: a delete is about whole rows"
)]
#[case(
    "relations = { a = { entity = \"b\", type = \"list\", columns = { x = \"y\" } } }\n",
    "8: database[0].entity[0].relations.a.type: `list` is none of"
)]
fn a_mistake_of_an_entity_is_told_at_its_line(#[case] keys: &str, #[case] expected: &str) {
    let found = entity(keys).map(|_| ()).expect_err(keys).to_string();
    assert!(found.starts_with(&format!("config.toml:{expected}")), "{found}");
    assert!(!found.contains("\nconfig.toml"), "one mistake is one line: {found}");
}

const ISSUER: &str = "[[api.issuer]]\nissuer = \"https://id\"\naudience = [\"a\"]\n";
const LONG: &str = "0123456789abcdef0123456789abcdef";

#[rstest]
#[case("[api]\nlisten = \"0.0.0.0:8088\"\n".to_owned(), "api.listen: 0.0.0.0:8088 can be reached from outside; `api.allow_remote = true`")]
#[case("[api]\nlisten = \"0.0.0.0:8088\"\nallow_remote = true\n".to_owned(), "api.listen: 0.0.0.0:8088 can be reached from outside and no token could be verified")]
#[case("[[api.issuer]]\naudience = [\"a\"]\njwks_url = \"https://id/jwks\"\n".to_owned(), "api.issuer[0].issuer: is missing")]
#[case("[[api.issuer]]\nissuer = \"i\"\njwks_url = \"https://id/jwks\"\n".to_owned(), "api.issuer[0].audience: is missing")]
#[case(ISSUER.to_owned(), "api.issuer[0].jwks_url: is missing, and so is `secret`")]
#[case(format!("{ISSUER}jwks_url = \"http://id/jwks\"\n"), "api.issuer[0].jwks_url: is not an address")]
#[case(format!("{ISSUER}jwks_url = \"http://127.0.0.1@evil/jwks\"\n"), "api.issuer[0].jwks_url: is not an address")]
#[case(format!("{ISSUER}jwks_url = \"https://id/jwks\"\nsecret = \"{LONG}\"\n"), "api.issuer[0].secret: `jwks_url` is given too")]
#[case(format!("{ISSUER}secret = \"hunter2\"\n"), "api.issuer[0].secret: has 7 bytes; HS256 needs 32 or more")]
#[case(format!("{ISSUER}algorithms = [\"HS256\"]\n"), "api.issuer[0].secret: is missing; HS256 needs it")]
#[case(format!("{ISSUER}algorithms = [\"HS256\"]\njwks_url = \"https://id/jwks\"\n"), "api.issuer[0].secret: is missing; HS256 needs it")]
#[case(format!("{ISSUER}algorithms = [\"RS256\"]\nsecret = \"{LONG}\"\n"), "api.issuer[0].algorithms: only HS256 is verified with a secret")]
#[case(format!("{ISSUER}algorithms = [\"none\"]\njwks_url = \"https://id/jwks\"\n"), "api.issuer[0].algorithms: `none` is none of: RS256")]
#[case("[batch]\ndefault_read_rows = 5000\n".to_owned(), "batch.default_read_rows: 5000 is above `max_read_rows` (1000)")]
#[case("[batch]\nbatch_timeout_ms = 4000\n".to_owned(), "batch.statement_timeout_ms: 5000 is above `batch_timeout_ms` (4000)")]
#[case("[[database]]\nkind = \"sqlite\"\n".to_owned(), "database[0].name: is missing")]
#[case("[[database]]\nname = \"a\"\n[[database]]\nname = \"a\"\n".to_owned(), "database[1].name: `a` is the name of two databases")]
#[case("[[database]]\nname = \"../a\"\n".to_owned(), "database[0].name: `../a` is not a name")]
#[case("[[database]]\nname = \"a\"\nkind = \"postgres\"\n".to_owned(), "database[0].url: is missing, and so is `url_file`")]
#[case("[[database]]\nname = \"a\"\nkind = \"mysql\"\nurl = \"postgres://u:hunter2@h/d\"\n".to_owned(), "database[0].url: is not an address such as `mysql://")]
#[case("[[database]]\nname = \"a\"\nurl = \"postgres://u:hunter2@h/d\"\n".to_owned(), "database[0].url: has no use with `kind = \"sqlite\"`")]
#[case("[[database]]\nname = \"a\"\nenforcement = \"database\"\n".to_owned(), "database[0].enforcement: has no use with `kind = \"sqlite\"`")]
#[case("[[database]]\nname = \"a\"\nkind = \"postgres\"\nurl = \"postgres://h/d\"\nenforcement = \"database\"\n".to_owned(), "database[0].role_claim: is missing")]
#[case("[[database]]\nname = \"a\"\ninit_sql = \"/no/such/file\"\n".to_owned(), "database[0].init_sql: cannot read `/no/such/file`")]
#[case("[[database]]\nname = \"a\"\ninit_sql = \"example:shp\"\n".to_owned(), "database[0].init_sql: there is no example `shp`")]
#[case("[[database]]\nname = \"a\"\n[[database.entity]]\nexpose = false\n".to_owned(), "database[0].entity[0].name: is missing")]
#[case("[[database]]\nname = \"a\"\n[[database.statement]]\nname = \"s\"\nsql = \"SELECT 1\"\nparameters = { a = \"int\" }\n".to_owned(), "database[0].statement[0].parameters.a: `int` is none of: integer")]
fn keys_that_do_not_go_together_are_told(#[case] text: String, #[case] expected: &str) {
    let found = parse(&text).map(|_| ()).expect_err(&text).to_string();
    let after_line = found.split_once(": ").map_or("", |(_, rest)| rest);
    assert!(after_line.starts_with(expected), "{found}");
    assert!(!found.contains('\n'), "one mistake is one line: {found}");
    assert!(!found.contains("hunter2"), "a secret was printed: {found}");
}

#[rstest]
#[case("", true)]
#[case("[api]\nanonymous = \"deny\"\n", false)]
#[case("[api]\nlisten = \"0.0.0.0:1\"\nallow_remote = true\nanonymous = \"allow\"\n", true)]
#[case("[[api.issuer]]\nissuer = \"i\"\naudience = [\"a\"]\njwks_url = \"https://id/jwks\"\n", false)]
fn callers_without_a_token_are_let_in_where_nobody_else_can_come(#[case] text: &str, #[case] allowed: bool) {
    assert_eq!(parse(text).unwrap().api.allows_anonymous(), allowed);
}

#[test]
fn an_issuers_algorithms_follow_from_its_keys() {
    let issuer = |keys: &str| parse(&format!("{ISSUER}{keys}")).unwrap().api.issuer.remove(0);
    let secret = issuer(&format!("secret = \"{LONG}\"\n"));
    assert_eq!(secret.allowed_algorithms(), [TokenAlgorithm::Hs256]);
    let keys = issuer("jwks_url = \"http://[::1]:9/jwks\"\n");
    assert!(!keys.allowed_algorithms().contains(&TokenAlgorithm::Hs256));
}
