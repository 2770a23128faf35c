"""placeholder"""


class AsyncWebsocketStreamInterface: ...
