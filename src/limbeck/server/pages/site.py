"""The addresses that people read, and what programs ask to know the server: its pages, its models,
its state and its document.

A page holds no data: where the server has tokens, it asks for one, and then for what it shows.
"""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from limbeck.server.pages import openapi, reference
from limbeck.server.pages.described import bounds_told, described
from limbeck.server.pages.rendering import page
from limbeck.server.pages.status import status_of
from limbeck.server.requests.http import Answer, Request, json_answer
from limbeck.server.requests.refusals import NothingThere
from limbeck.server.requests.routes import Routes
from limbeck.server.settings import NAME

if TYPE_CHECKING:
    from limbeck.server.app import Application


class Site:
    """Answers those addresses.

    app: whose models and tokens are looked up at each request, for a reload changes both.
    """

    def __init__(self, app: "Application") -> None:
        self.app = app

    def add_to(self, routes: Routes) -> None:
        """Add the addresses to a table."""
        routes.add("GET /", self.home)
        routes.add("GET /models/{model}", self.model)
        routes.add("GET /models.json", self.models)
        routes.add("GET /status", self.status_page)
        routes.add("GET /status.json", self.status)
        routes.add("GET /docs", self.docs)
        routes.add("GET /openapi.json", self.document)

    @property
    def needs_token(self) -> bool:
        """Whether who asks must send a token."""
        return self.app.access.tokens is not None

    async def page(self, name: str, **view: Any) -> Answer:
        """A page by its template, with what every page is told."""
        view = {"root": "./", "needs_token": self.needs_token} | view
        # Beside the event loop: the first page loads Jinja2, and other requests are under way.
        return await asyncio.to_thread(page, name, view)

    async def home(self, request: Request) -> Answer:
        """The page of the only model, or the list of them."""
        return await self.page("try", model="")

    async def model(self, request: Request) -> Answer:
        """The page of a model."""
        name = request.names["model"]
        if not NAME.fullmatch(name):
            raise NothingThere
        # Where tokens are needed, a stranger learns of no name whether it is served. Others may
        # have mistyped: the models that there are stand below.
        if not self.needs_token and name not in self.app.models.by_name:
            answer = await self.page("try", model="", missing=name, root="../")
            return replace(answer, status=HTTPStatus.NOT_FOUND)
        return await self.page("try", model=name, root="../")

    async def models(self, request: Request) -> Answer:
        """The models, what they read and what they can answer."""
        # A candidate beside it reads the same: it answers the same requests.
        models = [described(each.name, each.live) for each in self.app.models.by_name.values()]
        return json_answer({"models": models, "limits": bounds_told(self.app.settings.limits)})

    async def status_page(self, request: Request) -> Answer:
        """The page of the server's state."""
        return await self.page("status")

    async def status(self, request: Request) -> Answer:
        """The server's state: versions, workers, what waits, requests and their latency."""
        app = self.app
        told = status_of(app.settings, app.admin, app.meters, app.engine.board)
        return json_answer(told)

    async def docs(self, request: Request) -> Answer:
        """The document of the API, as a page."""
        # A browser that opens it sends no token: then it names no model.
        return await self.page("docs", **reference.view(await self.document_for(request)))

    async def document(self, request: Request) -> Answer:
        """The document of the API (OpenAPI 3.1); it names the models to who may ask them."""
        return json_answer(await self.document_for(request))

    async def document_for(self, request: Request) -> dict[str, Any]:
        """The document. Raises Refused (401) for a token that is none."""
        # A stranger is told of the addresses, and of no model.
        models = None
        authorization = request.header("authorization")
        if authorization or not self.needs_token:
            self.app.access.token_of(authorization)
            models = list(self.app.models.by_name.values())
        # As pages are: the first one reads the file, which takes a tenth of a second.
        return await asyncio.to_thread(
            openapi.document, self.app.routes, models, needs_token=self.needs_token
        )
