/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The client against a scripted peer: what a healthy QEMU never does.
 */
#include "qmp-client.h"
#include "qmp-peer.h"
#include "suite.h"
#include "worker.h"

static char *
socket_path (void)
{
  g_autofree char *folder = bk_suite_folder ();
  return g_build_filename (folder, "qmp", NULL);
}

static void
greet_and_wait (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_wait_close (peer);
}

static void
becomes_ready (gpointer data)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_client_wait_ready (data, 5000, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

START_TEST (greets)
{
  g_autofree char *path = socket_path ();
  BkQmpPeer *peer = bk_qmp_peer_start (path, greet_and_wait, NULL);
  BkQmpClient *client = bk_qmp_client_new (path);
  bk_qmp_client_start (client);
  bk_worker_run (becomes_ready, client);
  ck_assert_int_eq (bk_qmp_client_state (client), BK_QMP_READY);
  bk_qmp_client_stop (client);
  bk_qmp_client_unref (client);
  bk_qmp_peer_free (peer);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { greets, NULL };
  return bk_suite_run ("qmp-client", tests);
}
