/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend that is told what to say, linked in place of the one that speaks QMP.
 */
#pragma once

#include "backend.h"

/* The one that bk_qmp_backend_new() made last; NULL when it was freed. */
BkBackend *bk_fake_backend_last (void);
/* How many there are. */
unsigned bk_fake_backend_count (void);

/* What the link is from now on; tells the one who listens, with @event (may be NULL). */
void bk_fake_backend_set_link (BkBackend *backend, BkLink link, const char *reason, const char *event);

/* What the next inspection finds: @state (transfer full), or NULL: it fails with UNREACHABLE. It waits for
 * @delay_ms in its worker thread. */
void bk_fake_backend_set_state (BkBackend *backend, BkVmState *state, unsigned delay_ms);
