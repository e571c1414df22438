//! All routes, in one table.

use hyper::Method;

use crate::Refusal;

/// The routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Page,
    Style,
    Script,
    Predict,
    Health,
    Metrics,
    OpenApi,
    Run,
    Events,
    Photo,
    Stop,
    Correct,
    Corrections,
}

/// A parameter of a route, after the question mark.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub required: bool,
    /// Its type in JSON Schema.
    pub kind: &'static str,
    pub about: &'static str,
}

/// A route: how it is asked, and what it answers.
#[derive(Debug)]
pub(crate) struct Route {
    pub endpoint: Endpoint,
    pub method: &'static str,
    pub path: &'static str,
    pub about: &'static str,
    pub parameters: &'static [Parameter],
    /// Content types of the body; none for no body.
    pub takes: &'static [&'static str],
    /// Content type of the answer, and the name of its schema if it is JSON.
    pub gives: (&'static str, Option<&'static str>),
    /// Status codes of refusals, beside those that every route may answer.
    pub refuses: &'static [u16],
}

const PHOTO: &[&str] = &["image/*", "application/octet-stream"];
pub(crate) const JSON: &str = "application/json";

/// All routes.
pub(crate) const ROUTES: [Route; 13] = [
    Route {
        endpoint: Endpoint::Page,
        method: "GET",
        path: "/",
        about: "The page of the run, which takes photos.",
        parameters: &[],
        takes: &[],
        gives: ("text/html; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Style,
        method: "GET",
        path: "/page.css",
        about: "The style sheet of the page.",
        parameters: &[],
        takes: &[],
        gives: ("text/css; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Script,
        method: "GET",
        path: "/page.js",
        about: "The script of the page.",
        parameters: &[],
        takes: &[],
        gives: ("text/javascript; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Predict,
        method: "POST",
        path: "/predict",
        about: "Predicts the classes of photos: one as it is, or several as the files of a form. An answer has the keys of a line of \
                `injerto predict --json`. If there is one photo and it is refused, so is the request; of several, each has its answer \
                or its error.",
        parameters: &[
            Parameter {
                name: "neighbours",
                required: false,
                kind: "integer",
                about: "number of similar training photos to list for each photo, 20 at most",
            },
            Parameter {
                name: "top",
                required: false,
                kind: "integer",
                about: "number of classes to list; all by default",
            },
            Parameter {
                name: "heatmap",
                required: false,
                kind: "boolean",
                about: "add where the network looked: a map as a picture to lie over the photo. It takes about as long as two more \
                        predictions, and is left out if only occlusion could make the map",
            },
            Parameter { name: "name", required: false, kind: "string", about: "name of a photo that is sent as it is" },
        ],
        takes: &["multipart/form-data", "image/*", "application/octet-stream"],
        gives: (JSON, Some("Answers")),
        refuses: &[400, 403, 408, 413, 415, 422, 500, 503],
    },
    Route {
        endpoint: Endpoint::Health,
        method: "GET",
        path: "/health",
        about: "Whether there is a network to ask, and its classes.",
        parameters: &[],
        takes: &[],
        gives: (JSON, Some("Health")),
        refuses: &[503],
    },
    Route {
        endpoint: Endpoint::Metrics,
        method: "GET",
        path: "/metrics",
        about: "Counters in Prometheus's text format.",
        parameters: &[],
        takes: &[],
        gives: ("text/plain; version=0.0.4; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::OpenApi,
        method: "GET",
        path: "/openapi.json",
        about: "This description.",
        parameters: &[],
        takes: &[],
        gives: (JSON, None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Run,
        method: "GET",
        path: "/run",
        about: "How far the run is, with the figures of its finished epochs.",
        parameters: &[],
        takes: &[],
        gives: (JSON, Some("Run")),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Events,
        method: "GET",
        path: "/events",
        about: "The state of the run as server-sent events, whenever it changes.",
        parameters: &[],
        takes: &[],
        gives: ("text/event-stream", None),
        refuses: &[503],
    },
    Route {
        endpoint: Endpoint::Photo,
        method: "GET",
        path: "/photo",
        about: "The small picture of a training photo that an answer has named.",
        parameters: &[Parameter {
            name: "path",
            required: true,
            kind: "string",
            about: "its path, as the answer names it",
        }],
        takes: &[],
        gives: ("image/jpeg", None),
        refuses: &[400, 404],
    },
    Route {
        endpoint: Endpoint::Stop,
        method: "POST",
        path: "/stop",
        about: "Ends the training after its current batch. Every finished epoch is kept, and the run can go on. The body is an \
                empty object.",
        parameters: &[],
        takes: &[JSON],
        gives: (JSON, Some("Stopping")),
        refuses: &[403, 409, 415, 500],
    },
    Route {
        endpoint: Endpoint::Correct,
        method: "POST",
        path: "/corrections",
        about: "Keeps a photo under the class that it shows, for the next training.",
        parameters: &[
            Parameter { name: "class", required: true, kind: "string", about: "the class that the photo shows" },
            Parameter { name: "name", required: false, kind: "string", about: "name of the photo" },
        ],
        takes: PHOTO,
        gives: (JSON, Some("Collected")),
        refuses: &[400, 403, 408, 413, 415, 422, 500, 503],
    },
    Route {
        endpoint: Endpoint::Corrections,
        method: "GET",
        path: "/corrections",
        about: "The list of the collected photos.",
        parameters: &[],
        takes: &[],
        gives: ("text/csv; charset=utf-8", None),
        refuses: &[500],
    },
];

/// Finds the route of a request.
///
/// # Errors
/// [`Refusal::NoRoute`], [`Refusal::Method`].
pub(crate) fn find(method: &Method, path: &str) -> Result<&'static Route, Refusal> {
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut here = ROUTES.iter().filter(|route| route.path == path).peekable();
    let first = here.peek().ok_or(Refusal::NoRoute)?.method;
    let allowed = match (first, ROUTES.iter().filter(|route| route.path == path).count()) {
        (_, 2) => "GET, HEAD, POST",
        ("GET", _) => "GET, HEAD",
        _ => "POST",
    };
    here.find(|route| route.method == asked).ok_or(Refusal::Method(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_found_by_its_method_and_path_and_others_are_refused() {
        for route in &ROUTES {
            let method: Method = route.method.parse().expect("a method");
            assert_eq!(find(&method, route.path).map(|route| route.endpoint), Ok(route.endpoint));
        }
        let refused = |method: Method, path: &str| find(&method, path).expect_err("refused");
        assert_eq!(refused(Method::GET, "/nothing"), Refusal::NoRoute);
        assert_eq!(refused(Method::GET, "/predict"), Refusal::Method("POST"));
        assert_eq!(refused(Method::DELETE, "/corrections"), Refusal::Method("GET, HEAD, POST"));
        assert_eq!(refused(Method::POST, "/health"), Refusal::Method("GET, HEAD"));
    }
}
