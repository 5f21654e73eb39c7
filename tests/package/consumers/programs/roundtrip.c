// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Publishes a message, receives it, and prints the library's version and what came.

#include <shm/shm.h>

#include <stdio.h>
#include <string.h>

static int report(const char *call, int32_t status) {
  if (status != SHM_OK) {
    fprintf(stderr, "%s: %s (%s)\n", call, shm_status_string(status), shm_last_error_message());
  }
  return status != SHM_OK;
}

int main(void) {
  const char *text = "hello";
  shm_subscriber *subscriber = NULL;
  shm_publisher *publisher = NULL;
  shm_sample *sample = NULL;
  if (report("subscriber_create", shm_subscriber_create("greetings", NULL, &subscriber)) ||
      report("publisher_create", shm_publisher_create("greetings", NULL, &publisher)) ||
      report("publish", shm_publisher_publish(publisher, text, strlen(text), NULL)) ||
      report("try_receive", shm_subscriber_try_receive(subscriber, &sample))) {
    return 1;
  }
  printf("%s %.*s\n", shm_version(), (int)shm_sample_size(sample), (const char *)shm_sample_data(sample));
  shm_sample_release(sample);
  shm_publisher_destroy(publisher);
  shm_subscriber_destroy(subscriber);
  return 0;
}
