//! The lines of batch files: requests, and their results. The forms of the results differ
//! between OpenAI, vLLM and the services that follow them.

use serde_json::{Value, json};

use super::reply::{ReplyError, error_in};
use super::{Body, parse};

/// The address of a request, as a batch file names it.
const URL: &str = "/v1/chat/completions";

/// The line of a request, without a newline.
pub fn request_line(custom_id: &str, body: Body) -> String {
    json!({ "custom_id": custom_id, "method": "POST", "url": URL, "body": body }).to_string()
}

/// Why a request of a batch file has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultError {
    /// The status of the response. `None` if the request never got one.
    pub status: Option<u16>,
    /// The words of the server.
    pub message: String,
}

/// The reply in a line of results. It has a choice.
///
/// # Errors
/// The line reports an error, as `error`, as the status of its response, or in the body of it;
/// or it has no reply.
pub fn reply_in(mut line: Value) -> Result<Value, ResultError> {
    let response = line["response"].take();
    let status = response["status_code"].as_u64().and_then(|status| u16::try_from(status).ok());
    let error_status = status.filter(|status| *status >= 400);
    // vLLM puts the whole body of the error into `error`.
    let is_body = !line["error"]["error"].is_null();
    let outer = if is_body { error_in(&line["error"]) } else { error_in(&line) };
    let body = body_of(response);
    if let Some(error) = outer.or_else(|| error_in(&body)) {
        let ReplyError { status, message, .. } = error;
        return Err(ResultError { status: error_status.or(status), message });
    }
    if error_status.is_some() || !body["choices"][0].is_object() {
        let message = match &body {
            Value::Null => "the result has neither a reply nor an error".to_owned(),
            body => body.to_string(),
        };
        return Err(ResultError { status: error_status, message });
    }
    Ok(body)
}

/// The body of a response. Some services write it as a text, or leave out what is around it.
fn body_of(mut response: Value) -> Value {
    if response.get("choices").is_some() {
        return response;
    }
    match response["body"].take() {
        Value::String(text) => parse(text.as_bytes()).unwrap_or(Value::String(text)),
        body => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: Value) -> (Option<u16>, String) {
        let ResultError { status, message } = reply_in(line).unwrap_err();
        (status, message)
    }

    #[test]
    fn a_reply_is_found_in_the_result_of_each_service() {
        let body = json!({"choices": [{"message": {"content": "Hello."}}]});
        for line in [
            // OpenAI, vLLM, Groq, Mistral
            json!({"id": "batch_req_1", "custom_id": "a", "error": null,
                   "response": {"status_code": 200, "request_id": "r", "body": body}}),
            // Together
            json!({"custom_id": "a", "response": {"status_code": 200, "body": body}}),
            json!({"custom_id": "a", "response": body}),
            json!({"custom_id": "a", "response": {"body": body.to_string()}}),
        ] {
            assert_eq!(reply_in(line), Ok(body.clone()));
        }
    }

    #[test]
    fn an_error_is_found_in_the_result_of_each_service() {
        let message = |text: &str| json!({"error": {"message": text, "code": 400}});
        for (line, status, text) in [
            // OpenAI: a refused request, and one that was never sent.
            (
                json!({"response": {"status_code": 400, "body": message("too long")}, "error": null}),
                Some(400),
                "too long",
            ),
            (
                json!({"response": null, "error": {"code": "batch_expired", "message": "expired"}}),
                None,
                "expired",
            ),
            // vLLM: a refused request, and an exception.
            (
                json!({"response": {"status_code": 400, "body": null}, "error": message("too long")}),
                Some(400),
                "too long",
            ),
            (json!({"response": {"status_code": 400}, "error": "bad"}), Some(400), "bad"),
            // Together
            (json!({"error": {"message": "bad", "code": 500}}), Some(500), "bad"),
            (
                json!({"response": {"status_code": 503, "body": "busy"}, "error": null}),
                Some(503),
                "\"busy\"",
            ),
            (
                json!({"response": {"status_code": 200, "body": {"choices": []}}}),
                None,
                "{\"choices\":[]}",
            ),
            (json!({}), None, "the result has neither a reply nor an error"),
        ] {
            assert_eq!(error(line), (status, text.to_owned()));
        }
    }

    #[test]
    fn a_request_has_the_form_that_services_document() {
        let body = json!({"model": "tiny"}).as_object().unwrap().clone();
        assert_eq!(
            request_line("a-1", body),
            r#"{"custom_id":"a-1","method":"POST","url":"/v1/chat/completions","body":{"model":"tiny"}}"#
        );
    }
}
