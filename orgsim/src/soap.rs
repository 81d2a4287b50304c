//! `POST /services/Soap/u/{version}`: `login` and `logout`, for clients that still begin with a password.
//!
//! Everything else a SOAP client could ask for is answered as an operation that is not there.

use crate::{
    answer::Answer,
    oauth,
    site::{Caller, Site},
};
use roxmltree::{Document, Node};

/// The first version without `login`.
const LOGIN_GONE: u32 = 65;
const OLDEST: u32 = 31;
const KIND: &str = "soap";
const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";

/// Answers a request to an endpoint of `api` (`u` partner, `c` enterprise) in `version` (`62.0`).
pub fn answer(site: &Site, caller: &Caller, api: &str, version: &str, body: &[u8]) -> Answer {
    let Some(number) = version.split('.').next().and_then(|number| number.parse::<u32>().ok()) else {
        return Answer::not_found(KIND);
    };
    if number < OLDEST {
        let message = format!("Invalid Api version specified on URL {version}");
        return fault("sf:UNSUPPORTED_API_VERSION", "UNSUPPORTED_API_VERSION", &message);
    }
    let Some(document) = std::str::from_utf8(body).ok().and_then(|text| Document::parse(text).ok()) else {
        return fault("soapenv:Client", "", "The request is not a well-formed SOAP envelope");
    };
    let operation = document
        .descendants()
        .find(|node| node.tag_name().name() == "Body")
        .and_then(|body| body.children().find(Node::is_element));
    match operation.map(|node| (node.tag_name().name(), node)) {
        Some(("login", node)) if number < LOGIN_GONE => login(site, caller, api, version, node),
        Some(("logout", _)) => {
            let session = document.descendants().find(|node| node.tag_name().name() == "sessionId");
            match session.and_then(|node| node.text()).filter(|token| site.tokens.revoke_any(token)) {
                Some(_) => envelope(200, "<logoutResponse/>"),
                None => fault(
                    "sf:INVALID_SESSION_ID",
                    "INVALID_SESSION_ID",
                    "INVALID_SESSION_ID: Invalid Session ID found in SessionHeader: Illegal Session. Session not found, \
                     missing session hash",
                ),
            }
        }
        Some((name, _)) => {
            let message = format!("No operation available for request {{urn:partner.soap.sforce.com}}{name}");
            fault("soapenv:Client", "", &message)
        }
        None => fault("soapenv:Client", "", "The envelope has no body"),
    }
}

fn login(site: &Site, caller: &Caller, api: &str, version: &str, node: Node<'_, '_>) -> Answer {
    let text = |name: &str| {
        node.children().find(|child| child.tag_name().name() == name).and_then(|child| child.text())
    };
    if !site.may_log_in(text("username"), text("password")) {
        let message = "INVALID_LOGIN: Invalid username, password, security token; or user locked out.";
        return fault("sf:INVALID_LOGIN", "INVALID_LOGIN", message);
    }
    let (org, user) = (&site.org.organization_id, &site.org.user_id);
    let session = oauth::new_session(site, None);
    let base = escape(&caller.base_url());
    let lifetime = site.options.token_lifetime.map_or(7_200, |lifetime| lifetime.as_secs());
    let name = escape(&site.org.username);
    let server = format!("{base}/services/Soap/{api}/{version}/{}", &org[..15]);
    let metadata = format!("{base}/services/Soap/m/{version}/{}", &org[..15]);
    envelope(
        200,
        &format!(
            "<loginResponse><result><metadataServerUrl>{metadata}</metadataServerUrl>\
             <passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{server}</serverUrl>\
             <sessionId>{session}</sessionId><userId>{user}</userId><userInfo>\
             <organizationId>{org}</organizationId><organizationName>orgsim</organizationName>\
             <sessionSecondsValid>{lifetime}</sessionSecondsValid><userEmail>{name}</userEmail>\
             <userFullName>Integration User</userFullName><userId>{user}</userId><userLanguage>en_US</userLanguage>\
             <userLocale>en_US</userLocale><userName>{name}</userName><userTimeZone>GMT</userTimeZone>\
             <userType>Standard</userType></userInfo></result></loginResponse>"
        ),
    )
}

fn envelope(status: u16, content: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns=\"urn:partner.soap.sforce.com\" \
         xmlns:sf=\"urn:fault.partner.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
         <soapenv:Body>{content}</soapenv:Body></soapenv:Envelope>"
    );
    Answer { content_type: CONTENT_TYPE, ..Answer::with_status(KIND, status, text.into_bytes()) }
}

/// A fault; `code` is what clients read, empty when SOAP itself was at fault.
fn fault(fault_code: &str, code: &str, message: &str) -> Answer {
    let message = escape(message);
    let plain = message.strip_prefix(&format!("{code}: ")).unwrap_or(&message).to_owned();
    let detail = if code.is_empty() {
        String::new()
    } else {
        format!(
            "<detail><sf:LoginFault xsi:type=\"sf:LoginFault\"><sf:exceptionCode>{code}</sf:exceptionCode>\
             <sf:exceptionMessage>{plain}</sf:exceptionMessage></sf:LoginFault></detail>"
        )
    };
    envelope(
        500,
        &format!(
            "<soapenv:Fault><faultcode>{fault_code}</faultcode><faultstring>{message}</faultstring>{detail}</soapenv:Fault>"
        ),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
