/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Listening sockets that are made to be handed on. Each returns the descriptor (close-on-exec, non-blocking), or -1.
 */
#pragma once

#include "bk-error.h"

/* A unix socket only for our user; a name that a crash has left there is replaced. INVALID when the path is too long. */
int bk_listen_unix (const char *path, GError **error);

/* @listen: "tcp:HOST:PORT", an IPv6 address in brackets, port 0 = any. *@address: the same with the port that it is;
 * (transfer full). INVALID, CONFLICT (in use). */
int bk_listen_tcp (const char *listen, char **address, GError **error);
