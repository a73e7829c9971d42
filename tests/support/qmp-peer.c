/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-peer.h"

#include <check.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
                               "\"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n";

struct BkQmpPeer {
  char *path;
  int listener;
  int socket;
  int fd;
  size_t block;
  GString *input;
  BkQmpScript script;
  gpointer data;
  GThread *thread;
};

static gpointer
thread_main (gpointer data)
{
  BkQmpPeer *peer = data;
  peer->script (peer, peer->data);
  bk_qmp_peer_close (peer);
  return NULL;
}

BkQmpPeer *
bk_qmp_peer_start (const char *path, BkQmpScript script, gpointer data)
{
  BkQmpPeer *peer = g_new0 (BkQmpPeer, 1);
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  ck_assert_uint_lt (g_strlcpy (address.sun_path, path, sizeof address.sun_path), sizeof address.sun_path);
  unlink (path);
  peer->path = g_strdup (path);
  peer->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_int_eq (bind (peer->listener, (struct sockaddr *)&address, sizeof address), 0);
  ck_assert_int_eq (listen (peer->listener, 1), 0);
  peer->socket = -1;
  peer->fd = -1;
  peer->block = 1;
  peer->input = g_string_new (NULL);
  peer->script = script;
  peer->data = data;
  peer->thread = g_thread_new ("peer", thread_main, peer);
  return peer;
}

void
bk_qmp_peer_free (BkQmpPeer *peer)
{
  if (peer == NULL)
    return;
  g_thread_join (peer->thread);
  close (peer->listener);
  if (peer->fd >= 0)
    close (peer->fd);
  g_string_free (peer->input, TRUE);
  g_free (peer->path);
  g_free (peer);
}

static void
wait_for (int fd)
{
  struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
  ck_assert_msg (poll (&poll_fd, 1, PATIENCE_MS) > 0, "nothing came from the client");
}

void
bk_qmp_peer_accept (BkQmpPeer *peer)
{
  bk_qmp_peer_close (peer);
  wait_for (peer->listener);
  peer->socket = accept4 (peer->listener, NULL, NULL, SOCK_CLOEXEC);
  ck_assert_int_ge (peer->socket, 0);
}

void
bk_qmp_peer_greet (BkQmpPeer *peer)
{
  bk_qmp_peer_accept (peer);
  bk_qmp_peer_send (peer, greeting);
  json_object *command = bk_qmp_peer_expect (peer, "qmp_capabilities");
  bk_qmp_peer_answer (peer, command, "{}");
  json_object_put (command);
}

void
bk_qmp_peer_close (BkQmpPeer *peer)
{
  if (peer->socket >= 0)
    close (peer->socket);
  peer->socket = -1;
  g_string_truncate (peer->input, 0);
}

void
bk_qmp_peer_wait_close (BkQmpPeer *peer)
{
  char bytes[4096];
  do
    wait_for (peer->socket);
  while (recv (peer->socket, bytes, sizeof bytes, 0) > 0);
  bk_qmp_peer_close (peer);
}

void
bk_qmp_peer_send (BkQmpPeer *peer, const char *text)
{
  for (size_t left = strlen (text); left > 0;) {
    ssize_t count = send (peer->socket, text, left, MSG_NOSIGNAL);
    if (count < 0)
      return; /* the client went away, as clients do */
    text += count;
    left -= (size_t)count;
  }
}

void
bk_qmp_peer_answer (BkQmpPeer *peer, json_object *command, const char *value)
{
  json_object *id = NULL;
  ck_assert (json_object_object_get_ex (command, "id", &id));
  g_autofree char *text
      = g_strdup_printf ("{\"return\": %s, \"id\": %s}\r\n", value, json_object_to_json_string (id));
  bk_qmp_peer_send (peer, text);
}

static void
keep_fd (BkQmpPeer *peer, struct msghdr *message)
{
  struct cmsghdr *control = CMSG_FIRSTHDR (message);
  if (control == NULL || control->cmsg_type != SCM_RIGHTS)
    return;
  ck_assert_msg (peer->input->len == 0, "a descriptor came in the middle of a command");
  ck_assert_msg (peer->fd < 0, "a second descriptor came");
  memcpy (&peer->fd, CMSG_DATA (control), sizeof peer->fd);
}

/* Byte by byte, so that it is known with which one a descriptor came. */
static void
read_some (BkQmpPeer *peer)
{
  char bytes[65536];
  char control[CMSG_SPACE (sizeof (int) * 4)];
  struct iovec vector = { bytes, peer->block };
  struct msghdr message = {
    .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
  };
  wait_for (peer->socket);
  ssize_t count = recvmsg (peer->socket, &message, MSG_CMSG_CLOEXEC);
  ck_assert_msg (count > 0, "the client closed the connection in the middle of the script");
  keep_fd (peer, &message);
  g_string_append_len (peer->input, bytes, count);
}

json_object *
bk_qmp_peer_receive (BkQmpPeer *peer)
{
  char *newline = NULL;
  if (peer->fd >= 0)
    close (bk_qmp_peer_take_fd (peer)); /* of the command before, not asked for */
  while ((newline = memchr (peer->input->str, '\n', peer->input->len)) == NULL)
    read_some (peer);
  *newline = '\0';
  json_object *command = json_tokener_parse (peer->input->str);
  ck_assert_msg (command != NULL, "not JSON: %s", peer->input->str);
  g_string_erase (peer->input, 0, newline + 1 - peer->input->str);
  return command;
}

const char *
bk_qmp_command_name (json_object *command)
{
  json_object *name = NULL;
  if (!json_object_object_get_ex (command, "execute", &name))
    json_object_object_get_ex (command, "exec-oob", &name);
  return json_object_get_string (name);
}

json_object *
bk_qmp_peer_expect (BkQmpPeer *peer, const char *name)
{
  json_object *command = bk_qmp_peer_receive (peer);
  ck_assert_str_eq (bk_qmp_command_name (command), name);
  return command;
}

bool
bk_qmp_peer_has_input (BkQmpPeer *peer, int milliseconds)
{
  struct pollfd poll_fd = { .fd = peer->socket, .events = POLLIN };
  char byte;
  if (peer->input->len > 0)
    return true;
  return poll (&poll_fd, 1, milliseconds) > 0 && recv (peer->socket, &byte, 1, MSG_PEEK) > 0;
}

int
bk_qmp_peer_take_fd (BkQmpPeer *peer)
{
  int fd = peer->fd;
  peer->fd = -1;
  return fd;
}

void
bk_qmp_peer_read_blocks (BkQmpPeer *peer)
{
  peer->block = 65536;
}
