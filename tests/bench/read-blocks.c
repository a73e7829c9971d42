/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * As little as anybody could do who copies some blocks of a disk: reads those whose numbers come on stdin over NBD, 32 in
 * flight, and throws them away.
 *
 *   read-blocks URI BYTES-OF-A-BLOCK < NUMBERS
 */
#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define IN_FLIGHT 32

typedef struct {
  struct nbd_handle *handle;
  size_t block;
  char *buffers[IN_FLIGHT];
  int64_t cookies[IN_FLIGHT]; /* 0 = free */
  int busy;
} Reading;

static void
give_up (const char *what)
{
  fprintf (stderr, "read-blocks: %s\n", what);
  exit (EXIT_FAILURE);
}

static void
begin (Reading *reading, int slot, uint64_t number)
{
  uint64_t offset = number * reading->block;
  reading->cookies[slot] = nbd_aio_pread (reading->handle, reading->buffers[slot], reading->block, offset, NBD_NULL_COMPLETION, 0);
  if (reading->cookies[slot] < 0)
    give_up (nbd_get_error ());
  reading->busy++;
}

/* Lets go of what has come. */
static void
collect (Reading *reading)
{
  for (int slot = 0; slot < IN_FLIGHT; slot++) {
    int done = reading->cookies[slot] ? nbd_aio_command_completed (reading->handle, (uint64_t)reading->cookies[slot]) : 0;
    if (done < 0)
      give_up (nbd_get_error ());
    reading->cookies[slot] = done ? 0 : reading->cookies[slot];
    reading->busy -= done;
  }
}

static void
read_all (Reading *reading)
{
  uint64_t number = 0;
  bool more = scanf ("%" SCNu64, &number) == 1;
  while (more || reading->busy > 0) {
    for (int slot = 0; more && slot < IN_FLIGHT; slot++)
      if (reading->cookies[slot] == 0) {
        begin (reading, slot, number);
        more = scanf ("%" SCNu64, &number) == 1;
      }
    /* What is sent may have finished what was in flight: there is nothing to wait for then. */
    if (nbd_aio_in_flight (reading->handle) > 0 && nbd_poll (reading->handle, -1) < 0)
      give_up (nbd_get_error ());
    collect (reading);
  }
}

int
main (int argc, char **argv)
{
  Reading reading = { .handle = nbd_create () };
  if (argc != 3 || (reading.block = strtoul (argv[2], NULL, 10)) == 0)
    give_up ("usage: read-blocks URI BYTES-OF-A-BLOCK < NUMBERS");
  if (reading.handle == NULL || nbd_connect_uri (reading.handle, argv[1]) < 0)
    give_up (nbd_get_error ());
  for (int slot = 0; slot < IN_FLIGHT; slot++)
    if ((reading.buffers[slot] = malloc (reading.block)) == NULL)
      give_up ("no memory");
  read_all (&reading);
  for (int slot = 0; slot < IN_FLIGHT; slot++)
    free (reading.buffers[slot]);
  nbd_shutdown (reading.handle, 0);
  nbd_close (reading.handle);
  return EXIT_SUCCESS;
}
