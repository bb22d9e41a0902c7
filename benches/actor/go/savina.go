// The programs of the suite `actor` in Go: see src/actors/programs for what each does. An actor is a goroutine with a channel; channels
// have a limit, so where many may send at once it is large enough that nobody waits for a circle of others.
//
// Reads lines `workload size` from standard input and answers with nanoseconds; for `idle` with bytes, too.
package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var workload string
		var size int
		if _, err := fmt.Sscan(requests.Text(), &workload, &size); err != nil {
			panic(err)
		}
		runtime.GC()
		if workload == "idle" {
			took, bytes := idle(size)
			fmt.Println(took.Nanoseconds(), bytes)
			continue
		}
		program, known := programs[workload]
		if !known {
			panic("unknown workload " + workload)
		}
		start := time.Now()
		program(size)
		fmt.Println(time.Since(start).Nanoseconds())
	}
}

var programs = map[string]func(int){
	"ping-pong": pingPong, "counting": counting, "tell": tell, "ask": ask, "ask-actor": ask, "spawn-stop": spawnStop,
	"ring": ring, "fork-create": forkCreate, "fork-throughput": forkThroughput, "chameneos": chameneos, "big": big,
	"dictionary": dictionary, "philosophers": philosophers, "bank": bank, "tree": tree, "skynet": skynet, "whereis": whereis,
}

func check(right bool, what string) {
	if !right {
		panic(what)
	}
}

// Random numbers that are the same in every run: SplitMix64.
type dice uint64

func (d *dice) below(limit int) int {
	*d += 0x9E3779B97F4A7C15
	bits := uint64(*d)
	bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9
	bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB
	return int((bits ^ (bits >> 31)) % uint64(limit))
}

func pingPong(rounds int) {
	pings, pongs, answers := make(chan chan struct{}, 1), make(chan struct{}, 1), make(chan int)
	go func() {
		for from := range pings {
			from <- struct{}{}
		}
	}()
	go func() {
		count := 0
		for i := 0; i < rounds; i++ {
			pings <- pongs
			<-pongs
			count++
		}
		close(pings)
		answers <- count
	}()
	check(<-answers == rounds, "every ping has its pong")
}

type count struct {
	number int
	answer chan int
}

func counting(messages int) {
	counter, sums := make(chan count, 1024), make(chan int)
	go func() {
		sum := 0
		for message := range counter {
			sum += message.number
			if message.answer != nil {
				message.answer <- sum
			}
		}
	}()
	go func() {
		for i := 0; i < messages; i++ {
			counter <- count{number: 1}
		}
		counter <- count{answer: sums}
	}()
	check(<-sums == messages, "every message is counted")
	close(counter)
}

func tell(messages int) {
	listener, heard := make(chan count, 1000), make(chan int)
	go func() {
		sum := 0
		for message := range listener {
			sum += message.number
			if message.answer != nil {
				message.answer <- sum
			}
		}
	}()
	answers, sum := make(chan int), 0
	go func() {
		last := 0
		for left := messages; left > 0; {
			now := left
			if now > 1000 {
				now = 1000
			}
			left -= now
			for i := 1; i < now; i++ {
				listener <- count{number: 1}
			}
			listener <- count{1, answers}
			last = <-answers
		}
		heard <- last
	}()
	sum = <-heard
	check(sum == messages, "every message is heard")
	close(listener)
}

type question struct {
	number int
	answer chan int
}

func ask(questions int) {
	doubler, sums := make(chan question, 16), make(chan int)
	go func() {
		for question := range doubler {
			question.answer <- 2 * question.number
		}
	}()
	go func() {
		sum := 0
		for number := 0; number < questions; number++ {
			answer := make(chan int, 1)
			doubler <- question{number, answer}
			sum += <-answer
		}
		sums <- sum
	}()
	check(<-sums == questions*(questions-1), "every answer is right")
	close(doubler)
}

func spawnStop(times int) {
	ended, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		for i := 0; i < times; i++ {
			stop := make(chan struct{}, 1)
			go func() {
				<-stop
				ended <- struct{}{}
			}()
			stop <- struct{}{}
			<-ended
		}
		close(done)
	}()
	<-done
}

func ring(hops int) {
	const actors = 100
	channels, last := make([]chan int, actors), make(chan int)
	for i := range channels {
		channels[i] = make(chan int, 1)
	}
	for i := range channels {
		go func(number int, own, next chan int) {
			for hops := range own {
				if hops == 0 {
					last <- number
					return
				}
				next <- hops - 1
			}
		}(i, channels[i], channels[(i+1)%actors])
	}
	channels[0] <- hops
	ended := <-last
	check(ended == hops%actors, "the token stops where its hops are over")
	for i := range channels {
		close(channels[i])
	}
}

var seen float64

func work(seed float64) float64 {
	sine := math.Sin(seed)
	return sine * sine
}

func forkCreate(actors int) {
	ended := make(chan float64, 1024)
	go func() {
		for i := 0; i < actors; i++ {
			own := make(chan float64, 1)
			go func() { ended <- work(<-own) }()
			own <- 37.2
		}
	}()
	for i := 0; i < actors; i++ {
		seen += <-ended
	}
}

func forkThroughput(messages int) {
	const actors = 60
	each := messages / actors
	channels, done := make([]chan float64, actors), make(chan int, actors)
	for i := range channels {
		channels[i] = make(chan float64, 1024)
		go func(own chan float64) {
			sum := 0.0
			for i := 0; i < each; i++ {
				sum += work(<-own)
			}
			if sum < 0 {
				panic("squares are not negative")
			}
			done <- each
		}(channels[i])
	}
	for i := 0; i < each; i++ {
		for _, channel := range channels {
			channel <- 37.2
		}
	}
	sum := 0
	for range channels {
		sum += <-done
	}
	check(sum == actors*each, "every message is handled")
}

type colour int

const (
	red colour = iota
	blue
	yellow
)

func complement(one, other colour) colour {
	if one == other {
		return one
	}
	return 3 - one - other
}

type meeting struct {
	kind   int // 0: met, 1: change, 2: closed
	colour colour
	who    chan meeting
}

func chameneos(meetings int) {
	const creatures = 100
	mall, done := make(chan meeting, creatures), make(chan int, creatures)
	go func() {
		var waiting chan meeting
		left := meetings
		for met := range mall {
			if left == 0 {
				met.who <- meeting{kind: 2}
			} else if waiting == nil {
				waiting = met.who
			} else {
				left--
				waiting <- met
				waiting = nil
			}
		}
	}()
	for i := 0; i < creatures; i++ {
		go func(colour colour) {
			own, met := make(chan meeting, 2), 0
			for {
				mall <- meeting{0, colour, own}
				told := <-own
				switch told.kind {
				case 0:
					colour = complement(colour, told.colour)
					told.who <- meeting{kind: 1, colour: colour}
				case 1:
					colour = told.colour
				default:
					done <- met
					return
				}
				met++
			}
		}(colour(i % 3))
	}
	sum := 0
	for i := 0; i < creatures; i++ {
		sum += <-done
	}
	check(sum == 2*meetings, "each meeting is one for both")
	close(mall)
}

type ball struct {
	from int
	pong bool
}

func big(pings int) {
	const actors = 120
	each := pings / actors
	channels, done, stop := make([]chan ball, actors), make(chan int, actors), make(chan struct{})
	for i := range channels {
		channels[i] = make(chan ball, 2*actors)
	}
	for i := range channels {
		go func(number int) {
			dice, left, answers, target := dice(number), each, 0, -1
			ping := func() {
				if left == 0 {
					done <- answers
					return
				}
				left--
				target = dice.below(actors)
				channels[target] <- ball{number, false}
			}
			ping()
			for {
				select {
				case message := <-channels[number]:
					if message.pong {
						check(message.from == target, "the answer is of the one that was asked")
						answers++
						ping()
					} else {
						channels[message.from] <- ball{number, true}
					}
				case <-stop:
					return
				}
			}
		}(i)
	}
	sum := 0
	for range channels {
		sum += <-done
	}
	check(sum == actors*each, "every ping has its pong")
	close(stop)
}

type request struct {
	write      bool
	key, value int
	from       chan int
}

func dictionary(questions int) {
	const workers = 20
	each := questions / workers
	requests, done := make(chan request, workers), make(chan int, workers)
	go func() {
		values := make(map[int]int)
		for request := range requests {
			if request.write {
				values[request.key] = request.value
			}
			request.from <- values[request.key]
		}
	}()
	for i := 0; i < workers; i++ {
		go func(dice dice) {
			own := make(chan int, 1)
			for i := 0; i < each; i++ {
				key := dice.below(512)
				requests <- request{dice.below(100) < 10, key, key, own}
				<-own
			}
			done <- each
		}(dice(i))
	}
	sum := 0
	for i := 0; i < workers; i++ {
		sum += <-done
	}
	check(sum == workers*each, "every question has its answer")
	close(requests)
}

type hungry struct {
	number int
	done   bool
	who    chan bool
}

func philosophers(meals int) {
	const count = 20
	each := meals / count
	arbitrator, done := make(chan hungry, 2*count), make(chan int, count)
	go func() {
		var taken [count]bool
		for request := range arbitrator {
			left, right := request.number, (request.number+1)%count
			if request.done {
				taken[left], taken[right] = false, false
			} else if taken[left] || taken[right] {
				request.who <- false
			} else {
				taken[left], taken[right] = true, true
				request.who <- true
			}
		}
	}()
	for i := 0; i < count; i++ {
		go func(number int) {
			own, eaten := make(chan bool, 1), 0
			for eaten < each {
				arbitrator <- hungry{number, false, own}
				if <-own {
					eaten++
					arbitrator <- hungry{number, true, nil}
				}
			}
			done <- eaten
		}(i)
	}
	sum := 0
	for i := 0; i < count; i++ {
		sum += <-done
	}
	check(sum == count*each, "everybody eats as often as the others")
	close(arbitrator)
}

type transfer struct {
	cents  int
	to     chan transfer // nil: a deposit
	answer chan int
}

func bank(transfers int) {
	const accounts, balance = 1000, 1000000
	channels, done := make([]chan transfer, accounts), make(chan struct{}, 1024)
	for i := range channels {
		channels[i] = make(chan transfer, 1024)
		go func(own chan transfer) {
			cents := balance
			for order := range own {
				if order.to != nil {
					cents -= order.cents
					answer := make(chan int, 1)
					order.to <- transfer{order.cents, nil, answer}
					<-answer
					done <- struct{}{}
				} else {
					cents += order.cents
					order.answer <- cents
				}
			}
		}(channels[i])
	}
	go func() {
		dice := dice(transfers)
		for i := 0; i < transfers; i++ {
			from := dice.below(accounts / 10 * 8)
			to := from + 1 + dice.below(accounts-from-1)
			channels[from] <- transfer{dice.below(1000), channels[to], nil}
		}
	}()
	for i := 0; i < transfers; i++ {
		<-done
	}
	total := 0
	for _, channel := range channels {
		answer := make(chan int, 1)
		channel <- transfer{0, nil, answer}
		total += <-answer
		close(channel)
	}
	check(total == accounts*balance, "no cent is lost")
}

type grow struct {
	children  int // the seed; 0: none of these
	traverse  bool
	urgent    bool
	traversed int
}

var spun int

func treeNode(own chan grow, mayGrow chan chan grow, parent chan grow, seed dice) {
	work := func() {
		cost, sum := 400+seed.below(200), 0
		for i := 0; i < cost; i++ {
			sum += i ^ sum
		}
		if sum == -1 {
			spun++
		}
	}
	work()
	mayGrow <- own
	var children []chan grow
	for {
		message := <-own
		switch {
		case message.children > 0:
			for i := 0; i < 10; i++ {
				child := make(chan grow, 12)
				children = append(children, child)
				go treeNode(child, mayGrow, own, dice(message.children+i))
			}
		case message.traverse:
			work()
			for _, child := range children {
				child <- grow{traverse: true, urgent: message.urgent || seed.below(100) < 50}
			}
			sum := 1
			for range children {
				sum += (<-own).traversed
			}
			parent <- grow{traversed: sum}
			return
		}
	}
}

func tree(max int) {
	mayGrow, result := make(chan chan grow, 1024), make(chan grow, 1)
	top := make(chan grow, 12)
	go treeNode(top, mayGrow, result, 0)
	dice, nodes, expected := dice(max), 1, 1
	for expected > 0 {
		node := <-mayGrow
		expected--
		if nodes+10 <= max && (expected == 0 || dice.below(2) == 0) {
			node <- grow{children: nodes}
			nodes += 10
			expected += 10
		}
	}
	top <- grow{traverse: true, urgent: dice.below(100) < 50}
	check((<-result).traversed == nodes, "every node is traversed")
}

func skynetNode(parent chan int, first, leaves int) {
	if leaves == 1 {
		parent <- first
		return
	}
	own, each, sum := make(chan int, 10), leaves/10, 0
	for i := 0; i < 10; i++ {
		go skynetNode(own, first+i*each, each)
	}
	for i := 0; i < 10; i++ {
		sum += <-own
	}
	parent <- sum
}

func skynet(leaves int) {
	result := make(chan int)
	go skynetNode(result, 0, leaves)
	check(<-result == leaves*(leaves-1)/2, "the sum of all numbers")
}

// Channels are found by their names in a map for several goroutines.
func whereis(lookups int) {
	const named = 1000
	var registry sync.Map
	names := make([]string, named)
	for i := range names {
		names[i] = fmt.Sprintf("actor %d", i)
		registry.Store(names[i], make(chan struct{}))
	}
	lookers, done := runtime.GOMAXPROCS(0), make(chan int)
	for looker := 0; looker < lookers; looker++ {
		go func(first int) {
			found := 0
			for i := 0; i < lookups/lookers; i++ {
				if actor, known := registry.Load(names[(first+i*7)%named]); known && actor.(chan struct{}) != nil {
					found++
				}
			}
			done <- found
		}(looker * named / 2)
	}
	for looker := 0; looker < lookers; looker++ {
		check(<-done == lookups/lookers, "every name is known")
	}
}

func idle(actors int) (time.Duration, int) {
	before := residentBytes()
	start := time.Now()
	started := make(chan struct{}, 1024)
	channels := make([]chan struct{}, actors)
	go func() {
		for i := range channels {
			own := make(chan struct{})
			channels[i] = own
			go func() {
				started <- struct{}{}
				<-own
			}()
		}
	}()
	for range channels {
		<-started
	}
	took := time.Since(start)
	bytes := residentBytes() - before
	for _, channel := range channels {
		close(channel)
	}
	return took, bytes
}

func residentBytes() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	bytes := 0
	for _, line := range strings.Split(string(status), "\n") {
		words := strings.Fields(line)
		if len(words) == 3 && (words[0] == "VmRSS:" || words[0] == "VmPTE:") {
			kilobytes, err := strconv.Atoi(words[1])
			if err != nil {
				panic(err)
			}
			bytes += kilobytes * 1024
		}
	}
	return bytes
}
