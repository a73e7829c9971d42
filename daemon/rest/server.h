/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The REST API over HTTP/1.1: routes of api/openapi.yaml. Main thread only.
 *
 * On a unix socket only root and the daemon's own user are let in (SO_PEERCRED); others get 403. TCP
 * addresses are loopback only, until tokens exist; there, requests that a browser sends for a page of another
 * origin, or under another host name, get 403.
 * Limits: bodies 1 MiB (413), 128 connections (503 at once), one request to a connection, 60 s for it to arrive
 * and for its answer to be taken.
 */
#pragma once

#include "doctor.h"
#include "queue.h"
#include "serve-registry.h"

typedef struct BkServer BkServer;

/* What it serves; (transfer none), longer than it lives. */
BkServer *bk_server_new (BkQueue *queue, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkServeRegistry *serves, BkEventRing *events, BkDoctor *doctor);
/* Ends all connections and removes its unix sockets. */
void bk_server_free (BkServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkServer, bk_server_free)

/* @address: unix:PATH or tcp:HOST:PORT (port 0: any; the real one is logged). A stale unix socket is replaced,
 * a living one is CONFLICT. INVALID, DENIED. */
gboolean bk_server_listen (BkServer *server, const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The route table as lines "METHOD /v1/path/{param}", for the test against openapi.yaml; (transfer full). */
GStrv bk_server_routes (void);
