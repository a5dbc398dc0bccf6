//go:build ignore

/* A bare relay, to measure against: what carrying datagrams costs in C with
 * recvmmsg and sendmmsg of 64 and nothing else. It keeps no books, has no
 * limits, forgets no client, takes every sender for honest, and knows its
 * clients by their port alone: good for a measurement on one machine only.
 *
 * usage: relay PORT SERVER-PORT...    all on 127.0.0.1
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, SERVERS = 16, PORTS = 65536 };

/* A client is found by its port: fds has the socket its datagrams leave from. */
static int fds[PORTS];
static struct sockaddr_in clients[PORTS];

static struct sockaddr_in servers[SERVERS];
static int server_count, turn;

static char room[BATCH][ROOM];
static struct iovec iovs[BATCH];
static struct sockaddr_in names[BATCH];
static struct mmsghdr msgs[BATCH];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 4 << 20;
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return fd;
}

static void watch(int poller, int fd, uint32_t token)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = token};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0)
		fail("epoll_ctl");
}

/* Receive up to most datagrams into the slots from number at on. */
static int receive(int fd, int at, int most)
{
	for (int i = at; i < at + most; i++) {
		iovs[i].iov_base = room[i];
		iovs[i].iov_len = ROOM;
		msgs[i].msg_hdr.msg_iov = &iovs[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
		msgs[i].msg_hdr.msg_name = &names[i];
		msgs[i].msg_hdr.msg_namelen = sizeof names[i];
	}
	int n = recvmmsg(fd, msgs + at, most, MSG_DONTWAIT, NULL);
	if (n < 0)
		return 0;
	for (int i = at; i < at + n; i++)
		iovs[i].iov_len = msgs[i].msg_len;
	return n;
}

/* Send the slots from number at on; one that the kernel does not take is lost. */
static void send_slots(int fd, int at, int n)
{
	while (n > 0) {
		int sent = sendmmsg(fd, msgs + at, n, MSG_DONTWAIT);
		if (sent < 1)
			sent = 1;
		at += sent;
		n -= sent;
	}
}

/* Forward a batch from the listener: each datagram to the next server, those
 * of one client that came in a row with one call. */
static void forward(int poller, int listener)
{
	int n = receive(listener, 0, BATCH);
	for (int first = 0, i = 0; i < n; first = i) {
		int port = ntohs(names[first].sin_port);
		if (fds[port] == 0) {
			fds[port] = open_socket();
			clients[port] = names[first];
			watch(poller, fds[port], port);
		}
		do {
			names[i] = servers[turn];
			turn = (turn + 1) % server_count;
			i++;
		} while (i < n && ntohs(names[i].sin_port) == port);
		send_slots(fds[port], first, i - first);
	}
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc && server_count < SERVERS; i++)
		servers[server_count++] = loopback(atoi(argv[i]));

	int poller = epoll_create1(0);
	if (poller < 0)
		fail("epoll_create1");
	int listener = open_socket();
	struct sockaddr_in here = loopback(atoi(argv[1]));
	if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
		fail("bind");
	watch(poller, listener, 0); /* nobody sends from port 0 */

	for (;;) {
		struct epoll_event events[BATCH];
		int n = epoll_wait(poller, events, BATCH, -1), filled = 0, heard = 0;
		for (int k = 0; k < n; k++) {
			uint32_t port = events[k].data.u32;
			if (port == 0) {
				heard = 1;
				continue;
			}
			if (filled == BATCH) {
				send_slots(listener, 0, filled);
				filled = 0;
			}
			int got = receive(fds[port], filled, BATCH - filled);
			for (int i = filled; i < filled + got; i++)
				names[i] = clients[port];
			filled += got;
		}
		send_slots(listener, 0, filled);
		if (heard)
			forward(poller, listener);
	}
}
