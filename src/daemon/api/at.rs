//! One path with all that can be asked of it. Whatever else is asked is refused with 405, and with the list of what could be.

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::guard::{Any, Get, Head};
use actix_web::http::{Method, header};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, web};

use super::shapes::ErrorBody;

/// A path, to be registered as a service.
pub struct ApiPath {
    resource: Resource,
    methods: Vec<Method>,
}

/// A path of which nothing can be asked yet.
pub fn at(path: &str) -> ApiPath {
    ApiPath { resource: web::resource(path), methods: Vec::new() }
}

impl ApiPath {
    /// Reading, by whoever wants the answer or its head alone.
    pub fn reading<F, Args>(mut self, handler: F) -> ApiPath
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.extend([Method::GET, Method::HEAD]);
        self.resource = self.resource.route(web::route().guard(Any(Get()).or(Head())).to(handler));
        self
    }

    /// One method.
    pub fn on<F, Args>(mut self, method: Method, handler: F) -> ApiPath
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push(method.clone());
        self.resource = self.resource.route(web::method(method).to(handler));
        self
    }
}

impl HttpServiceFactory for ApiPath {
    fn register(self, app: &mut AppService) {
        let methods = self.methods;
        let refuse = move |asked: Method| {
            let allow = header::Allow(methods.clone());
            let error = format!("{asked} is not taken here, but {allow}");
            async move { HttpResponse::MethodNotAllowed().insert_header(allow).json(ErrorBody { error }) }
        };
        self.resource.default_service(web::to(refuse)).register(app);
    }
}
